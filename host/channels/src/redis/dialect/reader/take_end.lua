if #answer > 0 then
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
    redis.call('EXPIRE', KEYS[2], 86400)
    redis.call('EXPIRE', KEYS[3], 86400)
end
return answer
