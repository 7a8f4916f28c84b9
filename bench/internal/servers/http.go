package servers

import (
	"net/http"
	"time"

	ginjwt "github.com/appleboy/gin-jwt/v2"
	"github.com/gin-gonic/gin"
)

// servePlain answers with constants: what net/http itself costs.
func servePlain(mux *http.ServeMux, _ []byte) (app, error) {
	write := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}
	}
	mux.HandleFunc("POST /login", write(`{"token":"constant"}`))
	mux.HandleFunc("GET /api/me", write(`{"user":"`+Username+`"}`))
	return app{}, nil
}

// serveGinJWT serves gin-jwt as its README shows, without gin's log.
func serveGinJWT(mux *http.ServeMux, secret []byte) (app, error) {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	auth, err := ginjwt.New(&ginjwt.GinJWTMiddleware{
		Realm:       "bench",
		Key:         secret,
		Timeout:     24 * time.Hour,
		IdentityKey: "sub",
		PayloadFunc: func(data any) ginjwt.MapClaims { return ginjwt.MapClaims{"sub": data} },
		Authenticator: func(c *gin.Context) (any, error) {
			var login struct {
				Username string `json:"username" binding:"required"`
			}
			if err := c.ShouldBindJSON(&login); err != nil {
				return nil, ginjwt.ErrMissingLoginValues
			}
			return login.Username, nil
		},
		TokenLookup: "header: Authorization",
	})
	if err != nil {
		return app{}, err
	}
	router.POST("/login", auth.LoginHandler)
	router.GET("/api/me", auth.MiddlewareFunc(), func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"user": ginjwt.ExtractClaims(c)["sub"]})
	})
	router.GET(ReadyPath, gin.WrapH(mux))
	return app{handler: router}, nil
}
