-- Returns what decisions on sessions need. KEYS: bucket, and for each session living, ended.
-- ARGV: durable, sessions.
local e = state()
local found, recalled = {text(now), e}, false
for i = 2, #ARGV do
  local record, over, meta, left = see(KEYS[2 * i - 2], KEYS[2 * i - 1], ARGV[i])
  if record == '' and left == '' and not recalled then
    local err
    e, err = recall(e, ARGV[1] == '1')
    if err then return err end
    recalled = true
  end
  local n = #found
  found[n + 1], found[n + 2], found[n + 3], found[n + 4] = record, over, meta, left
end
writing()
found[2] = e
return found
