-- One load begins: a line in the log, and what is committed now.
-- KEYS: log, versions. ARGV: key, process.
-- Answers {number of the load, version of the row}.
local time = redis.call('TIME')
local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local version = redis.call('HGET', KEYS[2], ARGV[1])
local number = redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. version .. ' ' .. at)
return { number, version }
