// Drives the Socket Mode client of Slack's SDK for Node: it tells of all that comes, and acknowledges it.
'use strict';

const { SocketModeClient, LogLevel } = require('@slack/socket-mode');

const [slackApiUrl, , appToken] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const client = new SocketModeClient({
  appToken,
  logLevel: LogLevel.ERROR,
  clientPingTimeout: 500,
  serverPingTimeout: 1500,
  clientOptions: { slackApiUrl },
});
client.on('slack_event', async ({ ack, type, body, retry_num, retry_reason, accepts_response_payload }) => {
  const answer = accepts_response_payload ? { text: 'as you wish' } : undefined;
  await ack(answer);
  tell({ type, body, attempt: retry_num, reason: retry_reason, accepts: accepts_response_payload });
});
for (const state of ['connected', 'reconnecting', 'disconnected']) {
  client.on(state, () => tell({ state }));
}
client.start().catch((error) => tell({ refused: error.data?.error ?? error.message }));
// The test ends the program by closing its input.
process.stdin.on('end', () => process.exit(0)).resume();
