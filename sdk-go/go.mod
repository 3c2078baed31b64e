module github.com/lockserver/lockserver/sdk-go

go 1.26

require (
	github.com/gobwas/ws v1.5.0
	github.com/joho/godotenv v1.5.1
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
