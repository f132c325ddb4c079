-- How many deletions are carried out, and what the source has to be.
-- make: www/.mounted
-- expect: exit 0
-- expect: says maxDelete 10% of the target that nobody saw happen, 1000 that were seen
-- expect: says replacedSource budget
-- expect: says marker   .mounted
-- expect: says durable  each file and its directory are synced
-- expect: live 143

sync {
    default.direct,
    source         = "/srv/place/www",
    target         = "/srv/place/mirror",
    maxDelete      = "10%",
    maxDeleteSeen  = 1000,
    replacedSource = "budget",
    marker         = ".mounted",
    durable        = true,
}
