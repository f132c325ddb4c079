-- Limits of deletions, and requirements of the source.
-- mkdir: www/.mounted
-- expect: exit 0
-- expect: output maxDelete 10% of the target if unseen, 1000 if seen
-- expect: output replacedSource budget
-- expect: output marker   .mounted
-- expect: output durable  each file and its directory are flushed to disk
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
