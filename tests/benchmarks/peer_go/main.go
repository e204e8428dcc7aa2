// A lean ext_authz server in Go: the peer that the benchmarks measure extauthz against.
//
// It does what a careful team would write by hand: it verifies the RS256 token of the Authorization header (or
// finds it in a cache of verified tokens), looks the role up in the same rules, answers with the identity
// headers, and writes one JSON line for each decision. It has no tenants, attribute policies, canonical paths,
// key rotation, deadlines or health service.
package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

type claims struct {
	jwt.RegisteredClaims
	RealmAccess struct {
		Roles []string `json:"roles"`
	} `json:"realm_access"`
}

type principal struct {
	subject string
	roles   []string
	expires time.Time
}

type entry struct {
	Time     string `json:"ts"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Rule     string `json:"matched_rule_id"`
	Subject  string `json:"subject"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Request  string `json:"request_id"`
}

type server struct {
	auth.UnimplementedAuthorizationServer
	key      *rsa.PublicKey
	issuer   string
	audience string
	cached   bool
	tokens   sync.Map
	rules    map[string]string
	empty    *auth.CheckResponse
	lines    chan []byte
}

func (s *server) Check(_ context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	if s.empty != nil {
		return s.empty, nil
	}
	http := request.GetAttributes().GetRequest().GetHttp()
	headers := headersOf(http)
	caller, reason := s.identify(headers["authorization"])
	rule := ""
	if caller != nil {
		reason = "no_matching_rule"
		path := http.GetPath()
		if http.GetMethod() == "GET" && strings.HasPrefix(path, "/invoices/") && strings.Count(path, "/") == 2 {
			for _, role := range caller.roles {
				if found, ok := s.rules[role]; ok {
					rule, reason = found, "rule_matched"
					break
				}
			}
		}
	}
	line := entry{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Decision: "deny", Reason: reason, Rule: rule,
		Method: http.GetMethod(), Path: http.GetPath(), Request: headers["x-request-id"],
	}
	if caller != nil {
		line.Subject = caller.subject
	}
	answer := denied(reason)
	if rule != "" {
		line.Decision = "allow"
		answer = allowed(caller)
	}
	encoded, err := json.Marshal(line)
	if err != nil {
		return denied("internal_error"), nil
	}
	s.lines <- append(encoded, '\n')
	return answer, nil
}

// headersOf returns the two headers that are read; with encode_raw_headers Envoy sends a list instead of a map.
func headersOf(http *auth.AttributeContext_HttpRequest) map[string]string {
	if listed := http.GetHeaderMap().GetHeaders(); len(listed) > 0 {
		found := make(map[string]string, 2)
		for _, each := range listed {
			if name := each.GetKey(); name == "authorization" || name == "x-request-id" {
				found[name] = string(each.GetRawValue())
			}
		}
		return found
	}
	return http.GetHeaders()
}

func (s *server) identify(header string) (*principal, string) {
	token, bears := strings.CutPrefix(header, "Bearer ")
	if !bears {
		return nil, "token_missing"
	}
	if s.cached {
		if found, ok := s.tokens.Load(token); ok {
			known := found.(*principal)
			if time.Now().Before(known.expires) {
				return known, ""
			}
		}
	}
	said := claims{}
	_, err := jwt.ParseWithClaims(token, &said, func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(s.issuer), jwt.WithAudience(s.audience),
		jwt.WithExpirationRequired())
	if err != nil {
		return nil, "token_bad_signature"
	}
	caller := &principal{said.Subject, said.RealmAccess.Roles, said.ExpiresAt.Time}
	if s.cached {
		s.tokens.Store(token, caller)
	}
	return caller, ""
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func allowed(caller *principal) *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: []*core.HeaderValueOption{
				header("x-auth-subject", caller.subject), header("x-auth-roles", strings.Join(caller.roles, ",")),
			},
			HeadersToRemove: []string{"x-auth-tenant", "x-auth-domain", "x-service-api-key"},
		}},
	}
}

func denied(reason string) *auth.CheckResponse {
	code := envoytype.StatusCode_Forbidden
	if strings.HasPrefix(reason, "token_") {
		code = envoytype.StatusCode_Unauthorized
	}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &envoytype.HttpStatus{Code: code}, Body: `{"reason":"` + reason + `"}`,
		}},
	}
}

func write(path string, lines <-chan []byte, done chan<- struct{}) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriterSize(file, 64*1024)
	for line := range lines {
		out.Write(line)
		if len(lines) == 0 {
			out.Flush()
		}
	}
	out.Flush()
	file.Close()
	close(done)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	keyFile := flag.String("key", "", "PEM file of the issuer's public key")
	issuer := flag.String("issuer", "", "iss of tokens")
	audience := flag.String("audience", "", "aud of tokens")
	logFile := flag.String("log", os.DevNull, "where decisions are written")
	cached := flag.Bool("cache", true, "remember verified tokens")
	empty := flag.Bool("empty", false, "answer without looking")
	flag.Parse()
	s := &server{issuer: *issuer, audience: *audience, cached: *cached, lines: make(chan []byte, 4096)}
	s.rules = map[string]string{
		"finance": "rule-finance", "audit": "rule-audit", "board": "rule-board", "support": "rule-support",
		"sales": "rule-sales",
	}
	if *empty {
		s.empty = allowed(&principal{subject: "nobody"})
	} else {
		octets, err := os.ReadFile(*keyFile)
		if err != nil {
			log.Fatal(err)
		}
		block, _ := pem.Decode(octets)
		if block == nil {
			log.Fatal("no PEM block in ", *keyFile)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			log.Fatal(err)
		}
		s.key = key.(*rsa.PublicKey)
	}
	done := make(chan struct{})
	go write(*logFile, s.lines, done)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	auth.RegisterAuthorizationServer(serving, s)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		serving.Stop()
	}()
	os.Stdout.WriteString(listener.Addr().String() + "\n")
	if err := serving.Serve(listener); err != nil {
		log.Fatal(err)
	}
	close(s.lines)
	<-done
}
