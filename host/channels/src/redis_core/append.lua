local queue = KEYS[1]
redis.call('ZREMRANGEBYSCORE', queue, 0, ARGV[1])
local room = tonumber(ARGV[2]) - redis.call('ZCARD', queue)
local accepted = 0
if room >= (#ARGV - 3) / 2 then
    -- Lua's stack has room for some 8000 values.
    for first = 4, #ARGV, 2000 do
        redis.call('ZADD', queue, 'NX', unpack(ARGV, first, math.min(first + 1999, #ARGV)))
    end
    accepted = (#ARGV - 3) / 2
else
    for at = 4, #ARGV, 2 do
        if not redis.call('ZSCORE', queue, ARGV[at + 1]) then
            if room <= 0 then break end
            redis.call('ZADD', queue, ARGV[at], ARGV[at + 1])
            room = room - 1
        end
        accepted = accepted + 1
    end
end
if accepted > 0 then redis.call('EXPIRE', queue, ARGV[3]) end
return accepted
