-- Ends a session, or all of a user but one, whatever else goes on. KEYS: bucket, living, ended.
-- ARGV: the session or '', the exception, why, for how long codes can live (microseconds), when it
-- was if it is said again, the channel, the bucket, the change.
writing()
local living, ended = KEYS[2], KEYS[3]
local sid, except, why = ARGV[1], ARGV[2], tonumber(ARGV[3])
local again = tonumber(ARGV[5])
local at = again or now
local last = at + tonumber(ARGV[4])
local e = state()
local epoch = epochOf(e)
local count, did = 0, false

local function finish(one, first)
  if not whole(first) then
    redis.call('HSET', ended, one, remains(why, 0, math.ceil(last / 1000000) + 60, epoch))
    redis.call('HDEL', living, one, one .. 'o')
    expire(ended, last + 60000000)
    keep(KEYS[1], last + 60000000)
    did = true
    return
  end
  if epochIn(first) ~= epoch then
    bury(living, ended, one, first, 0)
    return
  end
  if lives(forgetAt(first)) then count = count + 1 end
  bury(living, ended, one, first, why)
  did = true
end

if sid ~= '' then
  local first = redis.call('HGET', living, sid)
  if first then
    finish(sid, first)
  else -- remembered while its code can live
    local left = redis.call('HGET', ended, sid)
    if left and #left ~= remainsSize then left = false end
    local forget = math.ceil(last / 1000000) + 60
    if not left or string.byte(left, 2) == 0 then
      did = not left
      if left then why, forget = string.byte(left), math.max(forget, read(left, 3, 4)) end
      redis.call('HSET', ended, sid, remains(why, 0, forget, epoch))
      expire(ended, forget * 1000000)
      keep(KEYS[1], forget * 1000000)
    end
  end
else
  local cutoff, mark, top = user(living)
  did = at > cutoff
  remember(living, math.max(cutoff, at), mark, top)
  local all = redis.call('HGETALL', living)
  for i = 1, #all, 2 do
    local one, first = all[i], all[i + 1]
    if #one == 16 and not (again and whole(first) and since(first) > again) then
      if one == except and whole(first) and epochIn(first) == epoch then
        raise(living, one, 0, at)
      else
        finish(one, first)
      end
    end
  end
  expire(living, last + 60000000)
  keep(KEYS[1], last + 60000000)
end
if did or not again then tell(ARGV[6], ARGV[7], 0, ARGV[8]) end
return {text(now), e, count}
