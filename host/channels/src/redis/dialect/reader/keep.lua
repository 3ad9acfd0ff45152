-- Renews the reader's lease, and takes over the messages of readers whose lease ran out.
-- The first write is one that Redis allows when its memory is full, and the rest of a script is not checked again: so
-- readers can go on to empty a server that takes nothing in.
redis.call('EXPIRE', KEYS[3], 86400)
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[3], 86400)
local found = {}
for nth = 5, #KEYS do
    -- XX with INCR 0 reads a lease. It may have been renewed, or taken over, since the caller looked.
    local lease = redis.call('ZADD', KEYS[3], 'XX', 'INCR', 0, ARGV[nth])
    if lease and tonumber(lease) <= tonumber(ARGV[4]) then
        local left = redis.call('ZRANGE', KEYS[nth], 0, -1, 'WITHSCORES')
        for at = 1, #left, 2 do
            redis.call('ZADD', KEYS[2], left[at + 1], left[at])
            found[#found + 1] = left[at]
            found[#found + 1] = left[at + 1]
        end
        redis.call('DEL', KEYS[nth])
        redis.call('ZREM', KEYS[3], ARGV[nth])
    end
end
redis.call('EXPIRE', KEYS[2], 86400)
if ARGV[3] == '1' then found = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES') end
local answer = {}
for at = 1, #found, 2 do
    answer[#answer + 1] = found[at]
    answer[#answer + 1] = found[at + 1]
    answer[#answer + 1] = 1
    answer[#answer + 1] = stored(found[at])
end
return answer
