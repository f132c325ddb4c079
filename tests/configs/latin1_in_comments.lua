-- Für die Käufer: Übersicht der Läden (in Latin-1)
-- expect: exit 0
-- expect: live 143

sync {
    default.rsync,
    source = "/srv/place/www",     -- hier ändert sich täglich etwas
    target = "/srv/place/mirror",
}
