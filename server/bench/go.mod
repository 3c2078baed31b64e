module github.com/lockserver/lockserver/server/bench

go 1.26.0

replace github.com/lockserver/lockserver/server => ../
