# The contract's examples, as printed there. Each is run by a shell, after its
# placeholders were replaced; the line above it names its answer in answers.json.

#: list
curl -X GET "http://localhost:3000/port-forwards" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: list-team
curl -X GET "http://localhost:3000/port-forwards?namespace=team-uuid" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: list-active
curl -X GET "http://localhost:3000/port-forwards?status=active" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: list-team-active
curl -X GET "http://localhost:3000/port-forwards?namespace=team-uuid&status=active" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: start
curl -X POST "http://localhost:3000/port-forwards/forward-uuid/start" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: stop
curl -X POST "http://localhost:3000/port-forwards/forward-uuid/stop" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: status
curl -X GET "http://localhost:3000/port-forwards/forward-uuid/status" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: create-local
curl -X POST "http://localhost:3000/port-forwards" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "localId": "local-uuid",
    "name": "Web Server Forward",
    "type": "local",
    "localHost": "127.0.0.1",
    "localPort": 8080,
    "remoteHost": "192.168.1.100",
    "remotePort": 80,
    "bindAddress": "0.0.0.0",
    "bindPort": 8080,
    "serverId": "server-uuid"
  }'

#: create-remote
curl -X POST "http://localhost:3000/port-forwards" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Database Forward",
    "type": "remote",
    "localHost": "0.0.0.0",
    "localPort": 9000,
    "remoteHost": "192.168.1.101",
    "remotePort": 3306,
    "bindAddress": "0.0.0.0",
    "bindPort": 9000,
    "serverId": "server-uuid"
  }'

#: create-dynamic
curl -X POST "http://localhost:3000/port-forwards" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "SOCKS Proxy",
    "type": "dynamic",
    "bindAddress": "0.0.0.0",
    "bindPort": 1080,
    "serverId": "server-uuid"
  }'

#: create-manual
curl -X POST "http://localhost:3000/port-forwards" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Manual Server Forward",
    "type": "local",
    "localHost": "127.0.0.1",
    "localPort": 8080,
    "remoteHost": "192.168.1.100",
    "remotePort": 80,
    "serverAddress": "192.168.1.100",
    "username": "root",
    "authType": "password",
    "password": "password123"
  }'

#: get
curl -X GET "http://localhost:3000/port-forwards/forward-uuid" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: patch
curl -X PATCH "http://localhost:3000/port-forwards/forward-uuid" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Updated Forward Name",
    "type": "remote",
    "localHost": "0.0.0.0",
    "localPort": 9000,
    "remoteHost": "192.168.1.101",
    "remotePort": 3306,
    "bindAddress": "0.0.0.0",
    "bindPort": 9000
  }'

#: patch-partly
curl -X PATCH "http://localhost:3000/port-forwards/forward-uuid" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "New Name",
    "localPort": 9090
  }'

#: delete
curl -X DELETE "http://localhost:3000/port-forwards/forward-uuid" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json"

#: sync
curl -X POST "http://localhost:3000/port-forwards/sync" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '[
    {
      "localId": "local-uuid-1",
      "name": "Forward 1",
      "type": "local",
      "localHost": "127.0.0.1",
      "localPort": 8080,
      "remoteHost": "192.168.1.100",
      "remotePort": 80,
      "serverId": "server-uuid-1"
    },
    {
      "localId": "local-uuid-2",
      "name": "Forward 2",
      "type": "remote",
      "localHost": "0.0.0.0",
      "localPort": 9000,
      "remoteHost": "192.168.1.101",
      "remotePort": 3306,
      "serverId": "server-uuid-2"
    }
  ]'

#: sync-one
curl -X POST "http://localhost:3000/port-forwards/sync" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -H "Content-Type: application/json" \
  -d '[
    {
      "localId": "local-uuid",
      "name": "Single Forward",
      "type": "local",
      "localHost": "127.0.0.1",
      "localPort": 8080,
      "remoteHost": "192.168.1.100",
      "remotePort": 80,
      "serverId": "server-uuid"
    }
  ]'
