package io.extauthz.spring;

import io.extauthz.declare.Caller;
import io.extauthz.declare.Resource;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpHeaders;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RequestMethod;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.servlet.function.RequestPredicates;
import org.springframework.web.servlet.function.RouterFunction;
import org.springframework.web.servlet.function.RouterFunctions;
import org.springframework.web.servlet.function.ServerResponse;

/** The controllers of the tests. */
final class Controllers {

    private Controllers() { }

    @RestController
    @RequestMapping("/invoices")
    @Resource(name = "invoice:read", defaultRoles = "finance")
    static class Invoices {

        @GetMapping("/{number}")
        String read(@PathVariable String number) {
            return "invoice " + number;
        }

        @GetMapping({"", "/", "/all"})
        String list() {
            return "all";
        }

        @DeleteMapping("/{number}")
        @Resource(name = "invoice:delete")
        String delete(@PathVariable String number) {
            return "deleted " + number;
        }

        @RequestMapping(path = "/{number}/lines/**", method = {RequestMethod.GET, RequestMethod.POST, RequestMethod.HEAD})
        @Resource(name = "invoice:lines", action = "edit")
        String lines(@PathVariable String number) {
            return "lines";
        }
    }

    @RestController
    static class Internal {

        @GetMapping("/internal")
        String internal() {
            return "internal";
        }
    }

    @RestController
    static class Who {

        @GetMapping("/who")
        @Resource(name = "who")
        Map<String, Object> who(Optional<Caller> caller, java.security.Principal principal, @RequestHeader HttpHeaders headers) {
            var answer = new TreeMap<String, Object>();
            answer.put("caller", caller.map(Caller::getName).orElse("none"));
            answer.put("principal", principal == null ? "none" : principal.getName());
            answer.put("header", Optional.ofNullable(headers.getFirst("x-auth-subject")).orElse("none"));
            return answer;
        }

        @GetMapping("/me")
        @Resource(name = "who")
        String me(Caller caller) {
            return caller.getName();
        }
    }

    /** Mappings that no template expresses, or that share one. */
    @RestController
    @RequestMapping("/odd")
    static class Odd {

        @GetMapping("/{name}.json")
        @Resource(name = "odd:json")
        String json(@PathVariable String name) {
            return name;
        }

        @GetMapping("/files/*.txt")
        @Resource(name = "odd:text")
        String text() {
            return "text";
        }

        @PostMapping(path = "/orders", consumes = "application/json")
        @Resource(name = "odd:create")
        String create() {
            return "create";
        }

        @PostMapping(path = "/orders", consumes = "text/csv")
        @Resource(name = "odd:import")
        String imported() {
            return "import";
        }
    }

    interface Declares {

        @GetMapping("/inherited/{id}")
        @Resource(name = "inherited")
        String read(@PathVariable String id);
    }

    @RestController
    static class Inherits implements Declares {

        @Override
        public String read(String id) {
            return id;
        }
    }

    @Resource(name = "first")
    interface First { }

    @Resource(name = "second")
    interface Second { }

    @RestController
    static class Torn implements First, Second {

        @GetMapping("/torn")
        String torn() {
            return "torn";
        }
    }

    @RestController
    @jakarta.annotation.Resource(name = "wrong")
    static class WrongImport {

        @GetMapping("/wrong")
        String wrong() {
            return "wrong";
        }
    }

    @RestController
    static class Patterns {

        @GetMapping("/p/*/pages")
        @Resource(name = "p")
        String pages() {
            return "pages";
        }

        @GetMapping("/p/*")
        @Resource(name = "p")
        String last() {
            return "last";
        }

        @GetMapping("/p/numbers/{n:\\d+}")
        @Resource(name = "p")
        String number() {
            return "number";
        }

        @GetMapping("/rest/{*rest}")
        @Resource(name = "p")
        String rest() {
            return "rest";
        }

        @RequestMapping("/any")
        @Resource(name = "p")
        String any() {
            return "any";
        }
    }

    @RestController
    static class Wide {

        @GetMapping("/wide/**")
        @Resource(name = "wide")
        String wide() {
            return "wide";
        }

        @GetMapping("/actuator/**")
        @Resource(name = "wide")
        String management() {
            return "management";
        }

        @GetMapping("/narrow/{id}")
        @Resource(name = "narrow")
        String narrow(@PathVariable String id) {
            return id;
        }
    }

    static class Functional {

        @Bean
        RouterFunction<ServerResponse> functions() {
            return RouterFunctions.route()
                    .nest(RequestPredicates.path("/wide"), nested -> nested
                            .GET("/inner/{id}", request -> ServerResponse.ok().body("functional")))
                    .build();
        }
    }
}
