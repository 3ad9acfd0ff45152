-- Gives the lease up where the caller holds it, and keeps its number.
-- KEYS: the lease.
-- ARGV: the caller's id, the seconds for which the number is kept.
local held = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #held == 0 or string.match(held[1], '^[^ ]*') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZADD', KEYS[1], held[2], ' ')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
