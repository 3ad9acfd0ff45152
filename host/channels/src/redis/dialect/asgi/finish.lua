for _, key in ipairs(ARGV) do
    redis.call('ZREM', KEYS[1], key)
    redis.call('DEL', key)
end
return #ARGV
