-- Deletes what is older than a version, and keeps older populates out. Idempotent and commutative.
-- KEYS: data, control. ARGV: version, TTL of the control key ms.
-- Answers "applied", or "redundant" when all of it had been done before.
local version = tonumber(ARGV[1])
local answer = 'redundant'

-- Deleting first may make the room that the floor needs.
local header = redis.call('GETRANGE', KEYS[1], 0, 9)
if #header > 0 then
  local cached = -1
  if #header == 10 then
    local _
    _, cached = struct.unpack('>I2i8', header)
  end
  -- From 2^53 on it is no version, and nobody's entry.
  if cached < version or cached >= 2^53 then
    redis.call('DEL', KEYS[1])
    answer = 'applied'
  end
end

local floor = tonumber(redis.call('HGET', KEYS[2], 'floor') or '0')
if floor < version then
  floor = version
  answer = 'applied'
end
-- Out of memory all the same: both keys go. Without its token no populate in flight is accepted.
local written = redis.pcall('HSET', KEYS[2], 'floor', string.format('%.0f', floor))
if type(written) == 'table' and written.err then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 'applied'
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return answer
