local removed = 0
for _, key in ipairs(ARGV) do
    if redis.call('LREM', KEYS[1], -1, key) > 0 then
        redis.call('DEL', key)
        removed = removed + 1
    end
end
return removed
