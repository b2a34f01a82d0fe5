package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestInstantsHaveExactlyThreeDigitsOfMilliseconds(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 2*60*60)
	for want, at := range map[string]time.Time{
		`"2024-01-01T00:00:00.000Z"`: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC),
		`"2024-01-01T00:00:00.120Z"`: time.Date(2024, 1, 1, 2, 0, 0, 120_999_999, zone),
	} {
		got, err := json.Marshal(At(at))
		if err != nil || string(got) != want {
			t.Errorf("%s, want %s, %v", got, want, err)
		}
		var back *Time
		if err := json.Unmarshal(got, &back); err != nil || !back.Equal(at.Truncate(time.Millisecond)) {
			t.Errorf("%v came back of %v, %v", back, at, err)
		}
	}
	if got, err := json.Marshal(struct{ At *Time }{At(time.Time{})}); err != nil || string(got) != `{"At":null}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestOptionalFieldsAreAbsentNullOrAValue(t *testing.T) {
	t.Parallel()
	type body struct {
		A Opt[string] `json:"a,omitzero"`
		B Opt[int]    `json:"b,omitzero"`
	}
	for text, want := range map[string]body{
		`{}`:                 {},
		`{"a":null}`:         {A: Null[string]()},
		`{"a":"x","b":0}`:    {A: Some("x"), B: Some(0)},
		`{"a":"","b":65535}`: {A: Some(""), B: Some(65535)},
	} {
		var got body
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%v: %s, %v", want, back, err)
		}
	}
	if got := (Opt[string]{}).Or("old"); got != "old" {
		t.Errorf("absent: %q", got)
	}
	if got := Null[string]().Or("old"); got != "" {
		t.Errorf("null: %q", got)
	}
	if got := Some("new").Or("old"); got != "new" {
		t.Errorf("a value: %q", got)
	}
}

func TestSecretsTravelAndAreNotPrinted(t *testing.T) {
	t.Parallel()
	in := KeyInput{Name: Some("k"), PrivateKey: Some(Secret("hunter2")), Passphrase: Null[Secret]()}
	body, err := json.Marshal(in)
	if err != nil || string(body) != `{"name":"k","privateKey":"hunter2","passphrase":null}` {
		t.Errorf("%s, %v", body, err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", Secret("hunter2"))
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "in", in, "secret", Secret("hunter2"))
	for _, printed := range []string{
		fmt.Sprint(in), fmt.Sprintf("%+v", in), fmt.Sprintf("%#v", in), fmt.Sprintf("%q %x", Secret("hunter2"), Secret("hunter2")),
		fmt.Sprint(Session{Token: "hunter2"}), logged.String(),
	} {
		if strings.Contains(printed, "hunter2") || strings.Contains(printed, "68756e74657232") || !strings.Contains(printed, "[redacted]") {
			t.Errorf("printed %s", printed)
		}
	}
}

func TestTagsRepeatTheLimits(t *testing.T) {
	t.Parallel()
	want := map[string]int{
		"Name": MaxName, "LocalID": MaxName, "Username": MaxName, "Host": MaxHost, "LocalHost": MaxHost, "RemoteHost": MaxHost,
		"BindAddress": MaxHost, "ServerID": MaxName, "KeyID": MaxName, "ServerAddress": MaxAddress, "Email": MaxEmail, "KeyPath": MaxPath,
		"Description": MaxDescription, "Password": MaxPassword, "CurrentPassword": MaxPassword, "NewPassword": MaxPassword,
		"Passphrase": MaxPassword, "PrivateKey": MaxPrivateKey, "KeyContent": MaxPrivateKey, "SOCKSUsername": MaxSOCKS,
		"SOCKSPassword": MaxSOCKS, "InviteCode": MaxName, "SetupCode": MaxName, "Fingerprint": MaxName,
	}
	for _, body := range []any{Registration{}, Credentials{}, PasswordChange{}, ServerInput{}, KeyInput{}, ForwardInput{}, HostKeyInput{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(body)) {
			where := fmt.Sprintf("%T.%s", body, f.Name)
			limit, enum := f.Tag.Get("maxLength"), f.Tag.Get("enum")
			switch {
			case enum != "":
			case f.Type == reflect.TypeFor[Opt[int]]():
				if f.Tag.Get("maximum") != strconv.Itoa(MaxPort) || f.Tag.Get("minimum") == "" {
					t.Errorf("%s is not bounded", where)
				}
			case limit != strconv.Itoa(want[f.Name]):
				t.Errorf("%s has maxLength %q, want %d", where, limit, want[f.Name])
			}
			if f.Name == "Username" && where == "api.Registration.Username" && f.Tag.Get("minLength") != strconv.Itoa(MinUsername) {
				t.Errorf("%s has minLength %q", where, f.Tag.Get("minLength"))
			}
		}
	}
}

func TestAnErrorReadsAsItsDetails(t *testing.T) {
	t.Parallel()
	if got := Invalid("a is wrong", "b is missing").Error(); got != "a is wrong; b is missing" {
		t.Errorf("%q", got)
	}
	if got := (&Error{Message: "m"}).Error(); got != "m" {
		t.Errorf("%q", got)
	}
}
