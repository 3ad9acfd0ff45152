-- Moves messages from the queue to the reader's processing key, in one step.
-- Each of these commands fails where another program uses the key for something else, before anything is taken.
redis.call('ZCOUNT', KEYS[2], 0, 0)
redis.call('ZCOUNT', KEYS[3], 0, 0)
-- Whether any member of this queue was handed out and given back: without any, no member needs to be looked up.
local has_returned = redis.call('ZCOUNT', KEYS[4], '-inf', '+inf') > 0
local answer = {}
