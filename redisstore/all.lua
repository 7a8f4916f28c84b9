-- Ends all sessions of a bucket: those of earlier epochs are over. KEYS: bucket. ARGV: why, when by
-- this server's clock (as the process estimates it: not later than now), and the epoch to begin if
-- it is said again.
writing()
local e = state()
local birth, first, epoch, at, reasons = string.match(e, '^(%d+) (%d+) (%d+) (%d+)(.*)$')
local before, again = tonumber(epoch), tonumber(ARGV[3])
if again and again <= before then return {text(now), e, '0', epoch} end
local after = text(again or math.max(math.floor(now / 1000000), before + 1))
if string.match(reasons, ':(%d+)$') ~= ARGV[1] then
  reasons = reasons .. ' ' .. after .. ':' .. ARGV[1]
end
if #reasons > 1000 then reasons = string.match(reasons, '^ [^ ]+(.*)$') end
at = text(math.max(tonumber(at), math.min(tonumber(ARGV[2]), now)))
e = birth .. ' ' .. first .. ' ' .. after .. ' ' .. at .. reasons
redis.call('HSET', KEYS[1], 'e', e)
return {text(now), e, text(redis.call('HINCRBY', KEYS[1], 'n', 1)), epoch}
