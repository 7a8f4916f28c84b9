-- What every script begins with. KEYS[1] is the bucket.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2] + ahead

-- text formats an integer, which Lua would write with an exponent.
local function text(n) return string.format('%.0f', n) end

-- read returns the n bytes of v from position at on as a number, big-endian; write is the reverse.
local function read(v, at, n)
  local x = 0
  for i = at, at + n - 1 do x = x * 256 + string.byte(v, i) end
  return x
end
local function write(x, n)
  local b = {}
  for i = n, 1, -1 do
    b[i] = string.char(x % 256)
    x = math.floor(x / 256)
  end
  return table.concat(b)
end

-- writing writes nothing, but Redis takes it for a write. So it is refused where writes are, which
-- is on a replica, and what follows passes where Redis is full, for a script is not stopped half
-- way.
local function writing() redis.call('HDEL', KEYS[1], '-') end

-- keep lets a key live until then at least. Expiries only grow.
local function keep(key, micros)
  local left = redis.call('PTTL', key)
  if left ~= -1 and left * 1000 < micros - now then
    redis.call('PEXPIREAT', key, text(math.ceil(micros / 1000)))
  end
end
-- expire is keep for a key that may just have been made, and has no expiry yet.
local function expire(key, micros)
  if redis.call('PTTL', key) == -1 then
    redis.call('PEXPIREAT', key, text(math.ceil(micros / 1000)))
  else
    keep(key, micros)
  end
end

-- The state of a bucket: since when it remembers, its first epoch, its epoch, when all were revoked
-- last, and for each epoch that began for another reason than the one before, the epoch and why.
local year = 365 * 86400 * 1000000
local function state()
  local e = redis.call('HGET', KEYS[1], 'e')
  if not e then
    local epoch = text(math.floor(now / 1000000))
    e = text(now) .. ' ' .. epoch .. ' ' .. epoch .. ' 0'
    redis.call('HSET', KEYS[1], 'e', e, 'w', text(now))
    expire(KEYS[1], now + 2 * year)
  end
  return e
end
local function epochOf(e) return tonumber(string.match(e, '^%d+ %d+ (%d+)')) end

-- recall looks whether what a session that is not there was may have been forgotten: by another
-- server, or by this one after a restart, which may have lost its last writes, or by a clock that
-- was set back since. Codes of before are refused from then on. It returns the state, or an error.
local function recall(e, durable)
  local known = redis.call('HMGET', KEYS[1], 'r', 'w')
  local before, last = tonumber(string.match(e, '^%d+')), tonumber(known[2] or '0')
  local birth, later = before, 0
  if not durable then
    local info = redis.pcall('INFO', 'server')
    local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
    if not run then
      local why = type(info) == 'table' and info.err or 'INFO has no run_id'
      return nil, redis.error_reply('NORUN ' .. why)
    end
    if known[1] ~= run then
      redis.call('HSET', KEYS[1], 'r', run)
      if known[1] then later = 2000000 end -- the clock of the other server may have been ahead
    end
  end
  if later > 0 then birth = math.max(birth, now + later) end
  if now + 60000000 < last then birth = now + later end
  if now + 60000000 < last or now > last + 10000000 then
    redis.call('HSET', KEYS[1], 'w', text(now))
  end
  if birth ~= before then
    e = string.gsub(e, '^%d+', text(birth))
    redis.call('HSET', KEYS[1], 'e', e)
  end
  if redis.call('PTTL', KEYS[1]) < year / 1000 then expire(KEYS[1], now + 2 * year) end
  return e
end

-- tell counts and publishes a change.
local function tell(channel, bucket, mark, change)
  local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
  local head = bucket .. ' ' .. text(n) .. ' ' .. text(now) .. ' ' .. text(mark)
  redis.call('PUBLISH', channel, head .. '\n' .. change)
end

-- A session's record is a string: the number of its parts (and 64 if the rest is not packed, 128 if
-- the session is bound), when it can be forgotten (4 bytes, seconds), its epoch (4 bytes), since
-- when the session has been (7 bytes, microseconds), and what only the processes read. It is kept
-- in parts of 63 bytes, because Redis keeps small hashes of small values in much less memory; the
-- last of 15 has all of the rest. The first is at the session's id, the others at parts of it. At
-- the id and "o" there may be a mark and a cut (8 bytes each) that are not in the record yet.
local function forgetAt(first) return read(first, 2, 4) end
local function epochIn(first) return read(first, 6, 4) end
local function since(first) return read(first, 10, 7) end
-- whole reports whether a record has all that the scripts read of it. One that was damaged may not,
-- and must not stop what is done about others.
local function whole(first) return #first >= 16 end
local function lives(seconds) return (seconds - 60) * 1000000 > now end

local size = 63
local function partNames(sid, first)
  local names = {}
  for i = 1, string.byte(first) % 16 - 1 do names[i] = string.sub(sid, 1, 11) .. string.char(i) end
  return names
end
-- load returns the record of a session, '' if there is none, and its mark and cut.
local function load(living, sid)
  local short = string.sub(sid, 1, 11)
  -- Most records have no more parts.
  local found = redis.call('HMGET', living, sid, sid .. 'o', short .. '\1', short .. '\2')
  local first = found[1]
  if not first then return '', '' end
  local names = partNames(sid, first)
  local rest = {found[3], found[4]}
  if #names > 2 then rest = redis.call('HMGET', living, unpack(names)) end
  for i = 1, #names do first = first .. (rest[i] or '') end
  return first, found[2] or ''
end
local function drop(living, sid, first)
  redis.call('HDEL', living, sid, sid .. 'o', unpack(partNames(sid, first)))
end
local function save(living, sid, old, new)
  local names, values = partNames(sid, new), {sid, string.sub(new, 1, size)}
  for i, name in ipairs(names) do
    values[2 * i + 1] = name
    values[2 * i + 2] = string.sub(new, i * size + 1, i < 14 and (i + 1) * size or -1)
  end
  redis.call('HSET', living, unpack(values))
  if old ~= '' then
    local before = partNames(sid, old)
    if #before > #names then redis.call('HDEL', living, unpack(before, #names + 1)) end
    redis.call('HDEL', living, sid .. 'o')
  end
  expire(living, forgetAt(new) * 1000000)
  keep(KEYS[1], forgetAt(new) * 1000000)
end

-- see returns all that a decision on a session needs: its record, the mark and the cut that are not
-- in it, what is remembered of its user (at ''), and what is left of it if it has ended.
local function see(living, ended, sid)
  local record, over = load(living, sid)
  if record ~= '' then return record, over, '', '' end
  local left = redis.call('HGET', ended, sid) or ''
  if left ~= '' then return '', '', '', left end
  return '', '', redis.call('HGET', living, '') or '', ''
end

-- What is left of a session that has ended: why (0: because its epoch is over), 1 if it had begun
-- and 2 if it was bound, when that can be forgotten (4 bytes) and the epoch (4 bytes).
local remainsSize = 10
local function remains(why, flags, forget, epoch)
  return string.char(why, flags) .. write(math.min(forget, 4294967295), 4) .. write(epoch, 4)
end
-- bury ends a session.
local function bury(living, ended, sid, first, why)
  local flags = 1
  if string.byte(first) >= 128 then flags = 3 end
  redis.call('HSET', ended, sid, remains(why, flags, forgetAt(first), epochIn(first)))
  expire(ended, forgetAt(first) * 1000000)
  keep(KEYS[1], forgetAt(first) * 1000000)
  drop(living, sid, first)
end

-- scan returns some of a hash, and next time others. A small hash is returned whole.
local function scan(key)
  local cursor = redis.call('HGET', key, 'c')
  local r = redis.call('HSCAN', key, cursor or '0', 'COUNT', 32)
  if r[1] ~= '0' then
    redis.call('HSET', key, 'c', r[1])
  elseif cursor then
    redis.call('HDEL', key, 'c')
  end
  return r[2]
end
-- sweep takes out what can be forgotten, and ends what is of an earlier epoch. It goes through more
-- than is added each time, and never through more than a little.
local function sweep(living, ended, epoch)
  local some = scan(living)
  for i = 1, #some, 2 do
    local sid, first = some[i], some[i + 1]
    if #sid == 16 and whole(first) then
      if forgetAt(first) * 1000000 < now then
        drop(living, sid, first)
      elseif epochIn(first) ~= epoch then
        bury(living, ended, sid, first, 0)
      end
    end
  end
  some = scan(ended)
  for i = 1, #some, 2 do
    local left = some[i + 1]
    if #some[i] == 16 and #left == remainsSize and read(left, 3, 4) * 1000000 < now then
      redis.call('HDEL', ended, some[i])
    end
  end
end

-- What is remembered of a user: when the user was revoked last, the mark below which no session
-- begins, and the highest mark given out (8 bytes each).
local function user(living)
  local v = redis.call('HGET', living, '')
  if not v then return 0, 0, 0 end
  if #v ~= 24 then return now, now, now end -- damaged: who has logged in before does so again
  return read(v, 1, 8), read(v, 9, 8), read(v, 17, 8)
end
local function remember(living, cutoff, mark, top)
  redis.call('HSET', living, '', write(cutoff, 8) .. write(mark, 8) .. write(top, 8))
end
-- raise raises the mark and the cut of a session.
local function raise(living, sid, mark, cut)
  local v = redis.call('HGET', living, sid .. 'o')
  if v then mark, cut = math.max(mark, read(v, 1, 8)), math.max(cut, read(v, 9, 8)) end
  redis.call('HSET', living, sid .. 'o', write(mark, 8) .. write(cut, 8))
end
