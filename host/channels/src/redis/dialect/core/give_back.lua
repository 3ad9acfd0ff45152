-- The next send to the queue would drop a message that is older than the expiry. Such a message stays in the processing
-- key, under a lease that has run out, so that our next reader takes it over.
local left = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local moved = 0
for at = 1, #left, 2 do
    if tonumber(left[at + 1]) > ARGV[3] - ARGV[2] then
        redis.call('ZADD', KEYS[1], left[at + 1], left[at])
        redis.call('ZREM', KEYS[2], left[at])
        moved = moved + 1
    end
end
if moved > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
if moved * 2 == #left then
    redis.call('ZREM', KEYS[3], ARGV[1])
else
    redis.call('ZADD', KEYS[3], 0, ARGV[1])
end
return moved
