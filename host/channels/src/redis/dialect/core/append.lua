-- Puts members on the queue, as many as there is room for. channels_redis drops expired members, counts, adds and sets
-- the key's expiry in four commands; this script has the same effect in one step.
-- KEYS: the queue.
-- ARGV: the oldest score that stays, the capacity, the expiry in seconds, then a score and a member for each message.
-- A member that is in the queue already was sent before and its answer was lost: it keeps its place and counts as
-- accepted.
-- Answers how many members were accepted, how many messages had expired, and how many wait now.
local queue = KEYS[1]
-- This changes nothing, but a server whose memory is full refuses it. Redis does not check again after a script's first
-- write, so the check must come before ZREMRANGEBYSCORE.
redis.call('ZADD', queue, 'XX', 0, '')
local expired = redis.call('ZREMRANGEBYSCORE', queue, 0, ARGV[1])
local room = tonumber(ARGV[2]) - redis.call('ZCOUNT', queue, '-inf', '+inf')
local accepted = 0
if room >= (#ARGV - 3) / 2 then
    -- Lua's stack holds about 8000 values, so unpack gets 2000 at a time.
    for first = 4, #ARGV, 2000 do
        redis.call('ZADD', queue, 'NX', unpack(ARGV, first, math.min(first + 1999, #ARGV)))
    end
    accepted = (#ARGV - 3) / 2
else
    for at = 4, #ARGV, 2 do
        -- XX with INCR 0 answers the score of a member that is there, and adds no other.
        if not redis.call('ZADD', queue, 'XX', 'INCR', 0, ARGV[at + 1]) then
            if room <= 0 then break end
            redis.call('ZADD', queue, ARGV[at], ARGV[at + 1])
            room = room - 1
        end
        accepted = accepted + 1
    end
end
if accepted > 0 then redis.call('EXPIRE', queue, ARGV[3]) end
return {accepted, expired, redis.call('ZCOUNT', queue, '-inf', '+inf')}
