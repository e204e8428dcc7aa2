package io.extauthz.samples.orders;

import io.extauthz.declare.Caller;
import io.extauthz.declare.Resource;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;

/** A service that registers its resources with a service key when it starts. */
@SpringBootApplication
public class Orders {

    /**
     * Starts the service.
     *
     * @param arguments settings, such as {@code --server.port=8080}
     */
    public static void main(String[] arguments) {
        SpringApplication.run(Orders.class, arguments);
    }

    record Order(
            String number, String subject, String kind, List<String> roles, String tenant, String domain) { }

    @RestController
    static class OrderController {

        @GetMapping("/orders/{number}")
        @Resource(name = "spring-sample-order:read", defaultRoles = "finance")
        Order read(@PathVariable String number, Caller caller) {
            return new Order(
                    number, caller.subject(), caller.kind(), caller.roles(), caller.tenant(), caller.domain());
        }

        /** Without default roles: denied until a rule allows it. */
        @DeleteMapping("/orders/{number}")
        @Resource(name = "spring-sample-order:delete")
        String delete(@PathVariable String number) {
            return "deleted " + number;
        }

        /** Declares nothing: the mesh has no route to it, and denies it. */
        @GetMapping("/internal")
        String internal() {
            return "reachable from inside only";
        }
    }
}
