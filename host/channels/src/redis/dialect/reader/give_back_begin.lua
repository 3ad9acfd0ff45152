-- Gives the reader's messages back to the queue, and ends its lease.
-- The first write is one that Redis allows when its memory is full, and the rest of a script is not checked again.
redis.call('EXPIRE', KEYS[3], 86400)
for at = 4, #ARGV do redis.call('ZADD', KEYS[4], 0, ARGV[at]) end
if #ARGV > 3 then redis.call('EXPIRE', KEYS[4], 86400) end
