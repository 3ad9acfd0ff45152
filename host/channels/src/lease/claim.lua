-- Takes the lease, or renews it.
-- KEYS: the lease.
-- ARGV: the claimant's id, the part of an id whose lease it may take over (or an empty text), its name, the least
-- number of a new lease, the seconds for which it holds.
-- Answers the member and the score of the lease then: the holder's id and name, and the number.
local held = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local number = tonumber(ARGV[4])
if #held > 0 then
    local id, old = string.match(held[1], '^[^ ]*'), tonumber(held[2])
    if id == ARGV[1] then
        number = old
    elseif id == '' then
        -- It was given up, and its number was kept.
        number = math.max(number, old + 1)
    elseif ARGV[2] ~= '' and string.sub(id, 1, #ARGV[2]) == ARGV[2] then
        number = math.max(number, old + 1)
    else
        return held
    end
end
redis.call('DEL', KEYS[1])
local member, score = ARGV[1] .. ' ' .. ARGV[3], string.format('%.0f', number)
redis.call('ZADD', KEYS[1], score, member)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {member, score}
