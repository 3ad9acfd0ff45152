local queue = KEYS[1]
-- Changes nothing, and is refused where the memory is full: what follows a script's first write is not.
redis.call('ZADD', queue, 'XX', 0, '')
local expired = redis.call('ZREMRANGEBYSCORE', queue, 0, ARGV[1])
local room = tonumber(ARGV[2]) - redis.call('ZCOUNT', queue, '-inf', '+inf')
local accepted = 0
if room >= (#ARGV - 3) / 2 then
    -- Lua's stack has room for some 8000 values.
    for first = 4, #ARGV, 2000 do
        redis.call('ZADD', queue, 'NX', unpack(ARGV, first, math.min(first + 1999, #ARGV)))
    end
    accepted = (#ARGV - 3) / 2
else
    for at = 4, #ARGV, 2 do
        -- Answers the score of a member that is there, and adds none.
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
