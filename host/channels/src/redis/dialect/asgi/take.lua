for nth = 1, tonumber(ARGV[3]) do
    local key = redis.call('LPOP', KEYS[1])
    if not key then break end
    -- A list has no scores: the time and the position keep the order in the processing key.
    local score = string.format('%.6f', ARGV[4] + nth / 1000000)
    -- The payload stays for a day, in case its reader ends before it has finished the message.
    redis.call('EXPIRE', key, 86400)
    redis.call('ZADD', KEYS[2], score, key)
    answer[#answer + 1] = key
    answer[#answer + 1] = score
    answer[#answer + 1] = has_returned and redis.call('ZREM', KEYS[4], key) or 0
    answer[#answer + 1] = redis.call('GET', key)
end
