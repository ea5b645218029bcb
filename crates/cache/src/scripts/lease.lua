-- Lets one caller load an entry, unless it is fresh.
-- KEYS: data, control.
-- ARGV: token, lease ms, the soft expiry that the caller saw (0: none), schema, TTL of the control key ms.
-- Answers {"data", now, entry}: fresh, and not what the caller saw.
--         {"newer", now}: a newer release's format, which this one must neither read nor replace.
--         {"busy", now, ms}: another caller loads; its lease ends in so many ms.
--         {"won", now, floor, 1 | 0}: load. 1: the lease before was never given back.
-- Times are Redis's own, in ms. Integers are exact up to 2^53.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local cached = 0
local header = redis.call('GETRANGE', KEYS[1], 0, 31)
if #header >= 10 then
  local schema, version = struct.unpack('>I2i8', header)
  -- What has no version is nobody's entry, and is replaced.
  if version >= 0 and version < 2^53 then
    if schema > tonumber(ARGV[4]) then
      return { 'newer', now }
    end
    cached = version
    if #header == 32 and schema == tonumber(ARGV[4]) then
      local soft, _, flags = struct.unpack('>I8I4B', header, 19)
      -- Version 0 is an absence's alone.
      local whole = version > 0 or flags % 2 == 1
      if soft > now and soft ~= tonumber(ARGV[3]) and whole then
        return { 'data', now, redis.call('GET', KEYS[1]) }
      end
    end
  end
end

local control = redis.call('HMGET', KEYS[2], 'floor', 'tok', 'tok_exp')
if control[2] and tonumber(control[3]) > now then
  return { 'busy', now, tonumber(control[3]) - now }
end
redis.call('HSET', KEYS[2], 'tok', ARGV[1], 'tok_exp', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[2], ARGV[5])

-- Absence has no version of its own. What is cached was committed before this lease, and so before the load that
-- follows: an absence found by that load is newer.
local floor = tonumber(control[1] or '0')
if floor < cached then
  floor = cached
end
return { 'won', now, floor, control[2] and 1 or 0 }
