-- Removes finished messages from the processing key, with their payloads.
for _, key in ipairs(ARGV) do
    redis.call('ZREM', KEYS[1], key)
    redis.call('DEL', key)
end
return #ARGV
