local left = redis.call('ZRANGE', KEYS[2], 0, -1)
-- From the last to the first, so that the first is at the front again.
for at = #left, 1, -1 do
    redis.call('LPUSH', KEYS[1], left[at])
    redis.call('EXPIRE', left[at], ARGV[2])
end
if #left > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2] + 1) end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return #left
