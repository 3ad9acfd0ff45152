// Drives the Web API client of Slack's SDK for Node; prints what it saw as one line of JSON.
'use strict';

const { WebClient, LogLevel } = require('@slack/web-api');

const [slackApiUrl, token] = process.argv.slice(2);
const client = new WebClient(token, { slackApiUrl, logLevel: LogLevel.ERROR });
const errorOf = (call) => call.then(() => null, (error) => error.data?.error ?? error.code);

async function main() {
  const seen = {};
  const auth = await client.auth.test();
  seen.user = auth.user;
  seen.scopes = auth.response_metadata.scopes.includes('chat:write');
  const users = new Set();
  for await (const page of client.paginate('users.list', { limit: 1000 })) {
    page.members.forEach((user) => users.add(user.id));
  }
  seen.users = users.size;
  const channels = await client.conversations.list({ limit: 999 });
  const general = channels.channels.find((channel) => channel.is_general).id;
  const posted = await client.chat.postMessage({
    channel: general,
    text: 'one',
    attachments: [{ text: 'more' }],
  });
  seen.attachments = posted.message.attachments;
  const item = { channel: general, timestamp: posted.ts, name: 'wave' };
  await client.reactions.add(item);
  const history = await client.conversations.history({ channel: general, limit: 1 });
  seen.reactions = history.messages[0].reactions.map((reaction) => reaction.name);
  seen.errors = [
    await errorOf(client.reactions.add(item)),
    await errorOf(client.chat.postMessage({ channel: 'C404', text: 'x' })),
    await errorOf(client.chat.delete({ channel: general, ts: '1.000001' })),
    await errorOf(client.apiCall('no.such')),
    await errorOf(new WebClient('nonsense', { slackApiUrl, logLevel: LogLevel.ERROR }).auth.test()),
    await errorOf(client.conversations.list({ cursor: 'nonsense' })),
  ];
  // The test has prescribed a 429 for the next post, which the SDK waits for by itself.
  const begun = performance.now();
  await client.chat.postEphemeral({ channel: general, user: auth.user_id, text: 'late' });
  seen.waited = performance.now() - begun >= 990;
  process.stdout.write(`${JSON.stringify(seen)}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
