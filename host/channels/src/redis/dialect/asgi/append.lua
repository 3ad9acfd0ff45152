-- asgi_redis's `lua_chansend` for several messages, with its counters.
-- KEYS: the queue, the counters of messages (the channel's, everyone's), the counters of refusals (the same).
-- ARGV: the expiry in seconds, the capacity, then a key and a payload for each message.
-- Answers how many messages were accepted, 0 (a list knows of no expired ones), and how many wait now.
if #ARGV == 2 then
    -- Without messages the caller asks whether the server takes any: a server that may not be written to, or whose
    -- memory is full, refuses this.
    redis.call('INCRBY', KEYS[2], 0)
    redis.call('EXPIRE', KEYS[2], 3600)
end
local room = tonumber(ARGV[2]) - redis.call('LLEN', KEYS[1])
local accepted = 0
local added = 0
for at = 3, #ARGV, 2 do
    if redis.call('EXISTS', ARGV[at]) == 0 then
        if room <= 0 then break end
        redis.call('SET', ARGV[at], ARGV[at + 1], 'EX', ARGV[1])
        redis.call('RPUSH', KEYS[1], ARGV[at])
        room = room - 1
        added = added + 1
    end
    accepted = accepted + 1
end
if added > 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[1] + 1)
    redis.call('INCRBY', KEYS[2], added)
    redis.call('EXPIRE', KEYS[2], 3600)
    redis.call('INCRBY', KEYS[3], added)
    redis.call('EXPIRE', KEYS[3], 86400)
end
if accepted < (#ARGV - 2) / 2 then
    redis.call('INCR', KEYS[4])
    redis.call('EXPIRE', KEYS[4], 3600)
    redis.call('INCR', KEYS[5])
    redis.call('EXPIRE', KEYS[5], 86400)
end
return {accepted, 0, redis.call('LLEN', KEYS[1])}
