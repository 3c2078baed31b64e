module github.com/lockserver/lockserver/conformance/drivers/go

go 1.26

require github.com/lockserver/lockserver/sdk-go v0.0.0

require github.com/joho/godotenv v1.5.1 // indirect

replace github.com/lockserver/lockserver/sdk-go => ../../../sdk-go
