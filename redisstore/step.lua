-- Writes the record of a session if all that the decision was made on is as the process saw it.
-- Otherwise it returns what is. KEYS: bucket, living, ended. ARGV: the session; its record, mark
-- and cut, state of the bucket and user as the process saw them; the record to write, or what is
-- left of the session if it ends; the channel, the bucket, the change to publish or ''; durable.
local sid = ARGV[1]
local e = state()
local record, over, meta, left = see(KEYS[2], KEYS[3], sid)
if record == '' and left == '' then
  local err
  e, err = recall(e, ARGV[11] == '1')
  if err then return err end
end
if left ~= '' or record ~= ARGV[2] or over ~= ARGV[3] or e ~= ARGV[4] or meta ~= ARGV[5] then
  writing()
  return {text(now), e, record, over, meta, left}
end
if record ~= '' then writing() end
if ARGV[6] ~= '' then
  save(KEYS[2], sid, record, ARGV[6])
  if record == '' then sweep(KEYS[2], KEYS[3], epochOf(e)) end
else
  redis.call('HSET', KEYS[3], sid, ARGV[7])
  expire(KEYS[3], read(ARGV[7], 3, 4) * 1000000)
  drop(KEYS[2], sid, record)
end
if ARGV[10] ~= '' then tell(ARGV[8], ARGV[9], 0, ARGV[10]) end
return {text(now)}
