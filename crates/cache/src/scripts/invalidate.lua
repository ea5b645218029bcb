-- Deletes what is older than a version and keeps older populates out. Idempotent and commutative.
-- KEYS: data, control. ARGV: version, the floor's TTL in ms.
local version = tonumber(ARGV[1])

local header = redis.call('GETRANGE', KEYS[1], 0, 9)
if #header > 0 then
  local cached = -1
  if #header == 10 then
    local _
    _, cached = struct.unpack('>I2I8', header)
  end
  if cached < version then
    redis.call('DEL', KEYS[1])
  end
end

-- Deleting first may have made room. If Redis is out of memory all the same, both keys go: better
-- no entry than one that a floor should have kept out.
local floor = tonumber(redis.call('HGET', KEYS[2], 'floor') or '0')
if floor < version then
  floor = version
end
local written = redis.pcall('HSET', KEYS[2], 'floor', string.format('%.0f', floor))
if type(written) == 'table' and written.err then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 'applied'
