local got = redis.call('ZPOPMIN', KEYS[1], ARGV[3])
for at = 1, #got, 2 do
    redis.call('ZADD', KEYS[2], got[at + 1], got[at])
    answer[#answer + 1] = got[at]
    answer[#answer + 1] = got[at + 1]
    answer[#answer + 1] = has_returned and redis.call('ZREM', KEYS[4], got[at]) or 0
    answer[#answer + 1] = false
end
