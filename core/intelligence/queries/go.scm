(function_declaration) @function
(method_declaration
  receiver: (parameter_list
    (parameter_declaration
      type: [
        (type_identifier) @owner
        (pointer_type (type_identifier) @owner)
        (generic_type type: (type_identifier) @owner)
        (pointer_type (generic_type type: (type_identifier) @owner))
      ]))) @method

(type_spec) @type
(type_spec type: (struct_type)) @struct
(type_spec type: (interface_type)) @interface
(type_alias) @type
(method_elem) @method.signature
(const_spec) @constant

(import_spec path: (_) @import)

["if" "for" "case" "&&" "||"] @decision

(comment) @comment
