// The path lies under that of the SDK, whose internal packages have the clocks and bounds that tests change.
module github.com/lockserver/lockserver/sdk-go/driver

go 1.26

require github.com/lockserver/lockserver/sdk-go v0.0.0

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/ws v1.5.0 // indirect
	github.com/joho/godotenv v1.5.1 // indirect
)

replace github.com/lockserver/lockserver/sdk-go => ../../../sdk-go
