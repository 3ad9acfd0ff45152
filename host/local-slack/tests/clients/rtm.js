// Drives the RTM client of Slack's SDK for Node: one step for each line of input, one line of JSON for each event.
'use strict';

const readline = require('node:readline');
const { RTMClient, LogLevel } = require('@slack/rtm-api');

const [slackApiUrl, token] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const client = new RTMClient(token, {
  slackApiUrl,
  logLevel: LogLevel.ERROR,
  clientPingTimeout: 1000,
  serverPongTimeout: 900,
  replyAckOnReconnectTimeout: 100,
});
client.on('slack_event', (type, event) => tell({ event }));
for (const state of ['connected', 'reconnecting', 'ready', 'disconnected']) {
  client.on(state, () => tell({ state }));
}
client.on('unable_to_rtm_start', (error) => tell({ refused: error.data?.error ?? error.message }));

async function step({ message, typing, presence, disconnect }) {
  if (message) {
    const [text, channel] = message;
    try {
      const ack = await client.sendMessage(text, channel);
      tell({ ack });
    } catch (error) {
      tell({ error: error.message, code: error.code });
    }
  } else if (typing) {
    await client.sendTyping(typing);
  } else if (presence) {
    await client.subscribePresence(presence);
  } else if (disconnect) {
    await client.disconnect();
    process.exit(0);
  }
}

client.start().catch((error) => tell({ failed: error?.message ?? null }));
readline.createInterface({ input: process.stdin }).on('line', (line) => step(JSON.parse(line)));
