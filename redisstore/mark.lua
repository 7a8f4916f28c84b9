-- Raises the mark of a session, or of all of a user. KEYS: bucket, living, ended. ARGV: the session
-- or '', for how long codes can live (microseconds), when it was and to which mark if it is said
-- again, the channel, the bucket, the change.
writing()
local living, sid = KEYS[2], ARGV[1]
local again = tonumber(ARGV[3])
local last = (again or now) + tonumber(ARGV[2])
local e = state()
local epoch = epochOf(e)
local cutoff, least, top = user(living)
local mark = tonumber(ARGV[4]) or math.max(now, top + 1)
local count, entry = 0, false

local function lift(one, first)
  if not whole(first) or epochIn(first) ~= epoch or again and since(first) > again then return end
  raise(living, one, mark, 0)
  if lives(forgetAt(first)) then count = count + 1 end
end

if sid ~= '' then
  local first = redis.call('HGET', living, sid)
  if first then
    lift(sid, first)
  else
    entry = redis.call('HEXISTS', KEYS[3], sid) == 0
  end
else
  local all = redis.call('HGETALL', living)
  for i = 1, #all, 2 do
    if #all[i] == 16 then lift(all[i], all[i + 1]) end
  end
  entry = true
end
local raised = mark > top
if entry then least = math.max(least, mark) end
remember(living, cutoff, least, math.max(top, mark))
if entry then
  expire(living, last + 60000000)
  keep(KEYS[1], last + 60000000)
elseif redis.call('PTTL', living) == -1 then -- nothing but this
  expire(living, now + 60000000)
end
if raised or not again then tell(ARGV[5], ARGV[6], mark, ARGV[7]) end
return {text(now), e, text(mark), count}
