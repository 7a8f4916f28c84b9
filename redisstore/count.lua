-- Counts the sessions that ended when an epoch was over. KEYS: bucket, and a user's living or
-- ended. ARGV: the epoch.
local epoch, count = tonumber(ARGV[1]), 0
local all = redis.call('HGETALL', KEYS[2])
local left = string.sub(KEYS[2], #KEYS[1] + 17) == 'x'
for i = 1, #all, 2 do
  local v = all[i + 1]
  if #all[i] ~= 16 then
    -- nothing of a session, or a part of one
  elseif left then
    if #v == remainsSize and string.byte(v) == 0 and read(v, 7, 4) == epoch and lives(read(v, 3, 4)) then count = count + 1 end
  elseif whole(v) and epochIn(v) == epoch and lives(forgetAt(v)) then
    count = count + 1
  end
end
return {text(now), count}
