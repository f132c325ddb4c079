-- expect: exit 0
-- expect: live 143
-- expect: output source   /srv/place/Fotos/Zürich-2024/
-- expect: command rsync --delete -lts --modify-window=-1 --max-delete=0 --stats -r '/srv/place/Fotos/Zürich-2024/' '/srv/place/写真/チューリッヒ/'
-- mkdir: Fotos/Zürich-2024 写真

sync {
    default.rsync,
    source = "/srv/place/Fotos/Zürich-2024",
    target = "/srv/place/写真/チューリッヒ",
}
