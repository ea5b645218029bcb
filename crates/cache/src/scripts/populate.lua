-- Stores an entry unless something newer is known.
-- KEYS: data, control. ARGV: schema, version, TTL in ms, the entry.
-- Answers "stored", or why not: "floor", "older", "schema".
local schema, version = tonumber(ARGV[1]), tonumber(ARGV[2])

local floor = redis.call('HGET', KEYS[2], 'floor')
if floor and tonumber(floor) > version then
  return 'floor'
end

local header = redis.call('GETRANGE', KEYS[1], 0, 9)
if #header == 10 then
  local cached_schema, cached_version = struct.unpack('>I2I8', header)
  if cached_schema > schema then
    return 'schema'
  end
  if cached_version > version then
    return 'older'
  end
end

redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
return 'stored'
