-- Ends a lease whose holder has nothing to store. KEYS: control. ARGV: token.
-- Answers 1, or 0 when the lease is no longer the caller's.
if redis.call('HGET', KEYS[1], 'tok') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'tok', 'tok_exp')
return 1
