-- The payload is in the member itself.
local function stored(member) return false end
