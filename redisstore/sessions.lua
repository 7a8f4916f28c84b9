-- Returns the living sessions of a user. KEYS: bucket, living.
writing()
local e = state()
local epoch, all, parts = epochOf(e), redis.call('HGETALL', KEYS[2]), {}
for i = 1, #all, 2 do parts[all[i]] = all[i + 1] end
local found = {text(now), e}
for sid, first in pairs(parts) do
  if #sid == 16 and whole(first) and epochIn(first) == epoch and lives(forgetAt(first)) then
    for _, name in ipairs(partNames(sid, first)) do first = first .. (parts[name] or '') end
    found[#found + 1], found[#found + 2] = sid, first
  end
end
return found
