-- Stores what the holder of a lease loaded, unless something newer is known, and ends the lease.
-- KEYS: data, control. ARGV: token, schema, version, TTL ms, the entry.
-- Answers "stored", or why not: "token" (the lease ran out, or the control key was lost), "floor", "older",
-- "schema" (a newer release's entry is there), "full".
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local control = redis.call('HMGET', KEYS[2], 'floor', 'tok', 'tok_exp')
if control[2] ~= ARGV[1] or tonumber(control[3]) <= now then
  return 'token'
end

local function store()
  local version = tonumber(ARGV[3])
  if control[1] and tonumber(control[1]) > version then
    return 'floor'
  end
  local header = redis.call('GETRANGE', KEYS[1], 0, 9)
  if #header == 10 then
    local cached_schema, cached_version = struct.unpack('>I2i8', header)
    -- What has no version is nobody's entry.
    if cached_version >= 0 and cached_version < 2^53 then
      if cached_schema > tonumber(ARGV[2]) then
        return 'schema'
      end
      if cached_version > version then
        return 'older'
      end
    end
  end
  local stored = redis.pcall('SET', KEYS[1], ARGV[5], 'PX', ARGV[4])
  if stored.err then
    return 'full'
  end
  return 'stored'
end

-- Only the first write of a script is refused for want of memory, so the lease ends after that.
local answer = store()
redis.call('HDEL', KEYS[2], 'tok', 'tok_exp')
return answer
