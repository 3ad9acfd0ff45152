-- The member is the key of the payload.
local function stored(member) return redis.call('GET', member) end
