-- Counts the sessions that ended when an epoch was over. KEYS: bucket, and keys of users, living or
-- ended. ARGV: the epoch.
local epoch, count = tonumber(ARGV[1]), 0
for k = 2, #KEYS do
  local all = redis.call('HGETALL', KEYS[k])
  local left = string.sub(KEYS[k], #KEYS[1] + 17) == 'x'
  for i = 1, #all, 2 do
    local v = all[i + 1]
    if #all[i] ~= 16 then
      -- nothing of a session, or a part of one
    elseif left then
      local ended = #v == remainsSize and string.byte(v) == 0 and read(v, 7, 4) == epoch
      if ended and lives(read(v, 3, 4)) then count = count + 1 end
    elseif whole(v) and epochIn(v) == epoch and lives(forgetAt(v)) then
      count = count + 1
    end
  end
end
return {text(now), count}
